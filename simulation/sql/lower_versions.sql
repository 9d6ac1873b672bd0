UPDATE entity_versions SET version = max(version - ?1, 0);
