"""HLS sources joined into one transport stream."""
