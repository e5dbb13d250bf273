package dev.forkd.state;

/** How far a stored snapshot is. */
public enum SnapshotState {
  /** Its files are being made. After a crash it is undone. */
  WRITING,
  /** Complete and on disk; the only state that can be forked. */
  READY,
  /** Its removal has begun. After a crash it is finished. */
  DELETING
}
