package dev.forkd.fault;

/**
 * What is told how far a piece of work is. Nothing happens, unless a test wants to know what is
 * found after a crash at that very place.
 */
@FunctionalInterface
public interface FaultPoint {
  /** The system property that names the step at which the process ends; only tests set it. */
  String PROPERTY = "forkd.fault.halt";

  /** Status of a process that ended so: that of one killed by SIGKILL. */
  int HALTED = 137;

  /**
   * @param step such as {@code workspace.suspend.saved}
   */
  void reach(String step);

  /**
   * Ends the process at once, without any cleaning up, at the step that {@link #PROPERTY} names.
   */
  static FaultPoint ofSystem() {
    String wanted = System.getProperty(PROPERTY, "");
    return wanted.isEmpty()
        ? _ -> {}
        : step -> {
          if (step.equals(wanted)) {
            Runtime.getRuntime().halt(HALTED);
          }
        };
  }
}
