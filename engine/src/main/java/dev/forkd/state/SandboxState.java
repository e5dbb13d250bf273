package dev.forkd.state;

/** How far a stored sandbox is. Whether its guest is idle is not stored: that changes too often. */
public enum SandboxState {
  /** Its process is being made, or waits in a pool. After a crash it is undone. */
  STARTING,
  /** Answered to the caller. After a crash it is adopted, or becomes FAILED. */
  LIVE,
  /**
   * Lost its process or hit a limit; kept with its reason until deleted. After a restart nothing
   * else is left of it, and of very many only the newest.
   */
  FAILED,
  /** Its removal has begun. After a crash it is finished. */
  KILLING
}
