package dev.forkd.state;

/** Who can hold a layer. */
public enum OwnerKind {
  SNAPSHOT,
  SANDBOX,
  /** A layer on top of another needs the one below. */
  LAYER
}
