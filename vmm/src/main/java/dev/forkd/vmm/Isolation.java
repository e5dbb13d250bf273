package dev.forkd.vmm;

/** How strongly a guest is kept apart from the host, weakest first. */
public enum Isolation {
  /** Software emulation: no hardware boundary, about 13 times slower CPU. */
  EMULATION,
  /** Hardware virtualisation through KVM. */
  KVM;

  /** The name on the wire. */
  public String wireName() {
    return name().toLowerCase(java.util.Locale.ROOT);
  }
}
