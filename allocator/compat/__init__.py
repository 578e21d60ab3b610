"""The original API, `ResourceAllocator`, over the clients."""
