"""EftCLIP."""
