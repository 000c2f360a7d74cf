"""The splice: packets of a new source continue the stream of the old one."""
