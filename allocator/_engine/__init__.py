"""redis-resource-allocator."""
