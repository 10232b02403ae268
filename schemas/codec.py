"""The wire contract in use: bytes to Blocks and back."""

from __future__ import annotations

from schemas.encode import encode_batch, encode_chunk_json

__all__ = ["encode_batch", "encode_chunk_json"]
