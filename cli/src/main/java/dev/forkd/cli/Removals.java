package dev.forkd.cli;

import dev.forkd.api.ErrorCode;
import dev.forkd.api.ForkdException;
import java.util.ArrayList;
import java.util.List;
import java.util.Optional;

/** What became of each of several things that were to go; one that stays stops no other. */
final class Removals {
  private final List<Result> results = new ArrayList<>();

  /**
   * One of them, for programs.
   *
   * @param name id or tag
   * @param code what kind of failure it was; empty when it is gone
   * @param error what to tell a user; empty when it is gone
   */
  record Result(String name, boolean removed, Optional<String> code, Optional<String> error) {}

  /** Removes one; a failure is kept for the end. */
  void remove(String name, Runnable removal) {
    try {
      removal.run();
      results.add(new Result(name, true, Optional.empty(), Optional.empty()));
    } catch (ForkdException e) {
      results.add(
          new Result(name, false, Optional.of(e.code().wireName()), Optional.of(e.message())));
    }
  }

  /** The same for what was only listed: that another caller removed it meanwhile is no failure. */
  void removeListed(String name, Runnable removal) {
    remove(name, removal);
    if (results.getLast().code().equals(Optional.of(ErrorCode.NOT_FOUND.wireName()))) {
      results.removeLast();
    }
  }

  /** Tells it all; returns the exit status. */
  int report(DaemonCommand command, boolean json) {
    if (json) {
      command.printJson(results);
    } else {
      for (Result result : results) {
        if (result.removed()) {
          command.out().println("✓ " + result.name());
        } else {
          command.err().println("✗ " + result.name() + ": " + result.error().orElse(""));
        }
      }
    }
    return results.stream().allMatch(Result::removed) ? 0 : Main.FAILURE;
  }
}
