package dev.forkd.testkit;

import dev.forkd.api.ErrorCode;
import dev.forkd.api.ForkdException;
import dev.forkd.fault.FaultPoint;
import java.util.List;
import java.util.Map;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.CopyOnWriteArrayList;

/** Lets named steps of a fake fail, each as often as a test wants it to. Thread-safe. */
public final class Faults implements FaultPoint {
  private final Map<String, Integer> armed = new ConcurrentHashMap<>();
  private final Map<String, ErrorCode> codes = new ConcurrentHashMap<>();
  private final List<String> struck = new CopyOnWriteArrayList<>();

  /** The next {@code times} times that {@code step} is reached it fails. */
  public void fail(String step, int times) {
    fail(step, times, ErrorCode.INTERNAL);
  }

  /** The same with another code than INTERNAL. */
  public void fail(String step, int times, ErrorCode code) {
    codes.put(step, code);
    armed.put(step, times);
  }

  /** Nothing fails any more. */
  public void clear() {
    armed.clear();
  }

  /** The steps that have failed, in order: what a test asked for and did not get proves nothing. */
  public List<String> struck() {
    return List.copyOf(struck);
  }

  @Override
  public void reach(String step) {
    int before = armed.getOrDefault(step, 0);
    if (before > 0) {
      armed.put(step, before - 1);
      struck.add(step);
      throw new ForkdException(codes.getOrDefault(step, ErrorCode.INTERNAL), "fault at " + step);
    }
  }
}
