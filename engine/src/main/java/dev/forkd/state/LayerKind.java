package dev.forkd.state;

/** What an immutable layer file holds. */
public enum LayerKind {
  /** Guest memory. */
  RAM,
  /** Guest disk. */
  DISK
}
