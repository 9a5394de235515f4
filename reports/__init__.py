"""Boards, tables, figures, statistics and submissions, made from records without torch or Ray."""
