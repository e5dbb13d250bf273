package dev.forkd.api;

import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import java.util.concurrent.ScheduledExecutorService;
import java.util.concurrent.ThreadFactory;

/**
 * The one place that makes threads, so that each has a name. Requests and waits run on virtual
 * threads; whatever sits in a native call for long runs on a platform thread of its own, because a
 * native call holds the carrier of a virtual one. None keeps the process alive.
 */
public final class Threads {
  private Threads() {}

  /** Starts a virtual thread. */
  public static Thread virtual(String name, Runnable body) {
    return Thread.ofVirtual().name(name).start(body);
  }

  /** Starts a daemon platform thread. */
  public static Thread platform(String name, Runnable body) {
    return Thread.ofPlatform().daemon().name(name).start(body);
  }

  /** Makes virtual threads named {@code prefix-0}, {@code prefix-1}, and so on. */
  public static ThreadFactory virtualFactory(String prefix) {
    return Thread.ofVirtual().name(prefix + "-", 0).factory();
  }

  /** Makes daemon platform threads named {@code prefix-0}, {@code prefix-1}, and so on. */
  public static ThreadFactory platformFactory(String prefix) {
    return Thread.ofPlatform().daemon().name(prefix + "-", 0).factory();
  }

  /** One virtual thread per task. Unbounded: whoever submits bounds what is in flight. */
  public static ExecutorService virtualExecutor(String prefix) {
    return Executors.newThreadPerTaskExecutor(virtualFactory(prefix));
  }

  /** At most {@code threads} platform threads for work that sits in native calls. */
  public static ExecutorService platformExecutor(String prefix, int threads) {
    return Executors.newFixedThreadPool(threads, platformFactory(prefix));
  }

  /** At most {@code threads} tasks at once on virtual threads; more wait their turn. */
  public static ExecutorService virtualExecutor(String prefix, int threads) {
    return Executors.newFixedThreadPool(threads, virtualFactory(prefix));
  }

  /** One daemon platform thread that runs short tasks at their time. */
  public static ScheduledExecutorService clock(String name) {
    return Executors.newSingleThreadScheduledExecutor(
        Thread.ofPlatform().daemon().name(name).factory());
  }
}
