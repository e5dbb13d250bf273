package dev.forkd.cli;

import dev.forkd.api.ErrorCode;
import dev.forkd.api.rest.SandboxInfo;
import dev.forkd.sdk.Forkd;
import dev.forkd.sdk.ForkdApiException;
import dev.forkd.sdk.Sandbox;
import java.util.Comparator;
import java.util.List;
import java.util.Optional;
import java.util.stream.Stream;

/** The sandboxes as people want to see them: oldest first, with the memory of their own. */
final class Sandboxes {
  /** Own memory is counted page by page and only for one sandbox at a time; more are left out. */
  private static final int DETAILED_MAX = 64;

  private Sandboxes() {}

  static List<SandboxInfo> of(Forkd forkd) {
    return of(forkd.sandboxes());
  }

  static List<SandboxInfo> of(List<Sandbox> sandboxes) {
    Stream<SandboxInfo> infos =
        sandboxes.size() > DETAILED_MAX
            ? sandboxes.stream().map(Sandbox::info)
            : sandboxes.stream().flatMap(sandbox -> now(sandbox).stream());
    return infos
        .sorted(Comparator.comparingLong(SandboxInfo::createdAtUnix).thenComparing(SandboxInfo::id))
        .toList();
  }

  /** Empty when it was ended since it was listed. */
  private static Optional<SandboxInfo> now(Sandbox sandbox) {
    try {
      return Optional.of(sandbox.refresh());
    } catch (ForkdApiException e) {
      if (e.code() == ErrorCode.NOT_FOUND) {
        return Optional.empty();
      }
      throw e;
    }
  }
}
