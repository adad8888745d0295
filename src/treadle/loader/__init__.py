"""The loader: log entries become loads, with retries and rejections."""
