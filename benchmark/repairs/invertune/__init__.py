"""InverTune."""
