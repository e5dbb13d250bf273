package dev.forkd.memory;

import java.util.Optional;

/**
 * One immutable image of guest memory on disk.
 *
 * @param id unique in the data directory; its file is {@code ram/<id>.flat} or {@code
 *     ram/<id>.delta}
 * @param sizeBytes guest memory
 * @param parent the image this one only stores the differences to; empty for a flat image
 * @param storedBytes bytes of pages it stores itself
 */
public record MemoryImage(String id, long sizeBytes, Optional<String> parent, long storedBytes) {}
