"""MPEG-2 transport streams (ISO/IEC 13818-1): the parts that sharing and splicing a stream needs."""
