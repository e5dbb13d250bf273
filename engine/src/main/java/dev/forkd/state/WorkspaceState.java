package dev.forkd.state;

/**
 * How far a stored workspace is. Whether its sandbox lives is not stored: it may die at any time.
 */
public enum WorkspaceState {
  /** Its first sandbox is being made. Becomes RUNNING, or the row goes. */
  CREATING,
  /** It has a sandbox, or had one that was lost. Becomes SUSPENDING, RESUMING or DELETING. */
  RUNNING,
  /** Its sandbox is being saved. Becomes SETTLING when that is durable, else RUNNING again. */
  SUSPENDING,
  /**
   * It is saved, or what it was saved as holds again; its sandbox and its former saved state are
   * being removed. Becomes SUSPENDED.
   */
  SETTLING,
  /** It has no sandbox. Becomes RESUMING or DELETING. */
  SUSPENDED,
  /** A sandbox is being made from its saved state. Becomes RUNNING, else what it was before. */
  RESUMING,
  /** Its removal has begun. After a crash it is finished. */
  DELETING
}
