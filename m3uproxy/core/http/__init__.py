"""HTTP rules without I/O: heads, redirects, ranges, addresses, URLs for logs."""
