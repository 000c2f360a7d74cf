"""MPEG-2 transport streams (ISO/IEC 13818-1), as much of them as sharing and joining a stream needs."""
