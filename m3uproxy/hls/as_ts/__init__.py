"""HLS as one transport stream."""
