package dev.forkd.vmm;

/**
 * The virtual machine's shape. A restored VM must have exactly the shape it was saved with.
 *
 * @param memoryMib guest memory
 */
public record VmHardware(int memoryMib) {
  public static final int MIN_MEMORY_MIB = 128;
  public static final int MAX_MEMORY_MIB = 64 << 10;

  public long memoryBytes() {
    return (long) memoryMib << 20;
  }
}
