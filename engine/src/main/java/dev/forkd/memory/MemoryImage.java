package dev.forkd.memory;

import java.util.Optional;
import java.util.regex.Pattern;

/**
 * One immutable image of guest memory on disk.
 *
 * @param id unique in the data directory; its file is {@code ram/<id>.flat} or {@code
 *     ram/<id>.delta}
 * @param sizeBytes guest memory
 * @param parent the image this one only stores the differences to; empty for a flat image
 * @param storedBytes bytes of pages it stores itself
 * @param contentHash 64 lower-case hexadecimal digits over its file and those of all it stands on
 */
public record MemoryImage(
    String id, long sizeBytes, Optional<String> parent, long storedBytes, String contentHash) {
  private static final Pattern HASH = Pattern.compile("[0-9a-f]{64}");

  public MemoryImage {
    if (!HASH.matcher(contentHash).matches()) {
      throw new IllegalArgumentException(
          "memory image " + id + " has the content hash '" + contentHash + "'");
    }
  }
}
