package dev.forkd.engine;

/** What to do with the snapshots that name the deleted one as parent. */
public enum DeleteMode {
  /** Delete nothing and say who depends. */
  REFUSE,
  /** Delete them too, leaves first. */
  CASCADE,
  /** Delete only the one named; the others keep what they need but lose their ancestor. */
  FORCE
}
