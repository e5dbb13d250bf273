package dev.forkd.vmm;

import java.nio.file.Path;

/**
 * One file of a disk chain.
 *
 * @param id its name everywhere: file name, block node
 */
public record DiskLayer(String id, Path path, Format format) {
  /** How the file is laid out. */
  public enum Format {
    RAW,
    QCOW2;

    public String wireName() {
      return name().toLowerCase(java.util.Locale.ROOT);
    }
  }
}
