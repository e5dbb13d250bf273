package dev.forkd.testkit;

import dev.forkd.api.ErrorCode;
import dev.forkd.api.ForkdException;
import dev.forkd.api.SandboxId;
import dev.forkd.api.Tag;
import dev.forkd.engine.BranchSpec;
import dev.forkd.engine.DeleteMode;
import dev.forkd.engine.GuestUsage;
import dev.forkd.engine.HostedSandboxes;
import dev.forkd.engine.Snapshot;
import dev.forkd.hosted.HostedHost;
import dev.forkd.hosted.HostedKeeper;
import dev.forkd.state.HostedRow;
import dev.forkd.state.StateStore;
import java.lang.reflect.Proxy;
import java.time.InstantSource;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.TreeMap;
import java.util.function.Function;

/** Hosted sandboxes: the real keeper over the fake engine, with its rows in memory. */
final class FakeHosting {
  private FakeHosting() {}

  static HostedSandboxes over(FakeEngine engine) {
    return new HostedKeeper(rows(), engine.workspaces(), host(engine), InstantSource.system());
  }

  /** The few words of the store that the keeper speaks. */
  private static StateStore rows() {
    Map<String, HostedRow> rows = java.util.Collections.synchronizedMap(new TreeMap<>());
    return (StateStore)
        Proxy.newProxyInstance(
            FakeHosting.class.getClassLoader(),
            new Class<?>[] {StateStore.class},
            (self, method, arguments) ->
                switch (method.getName()) {
                  case "putHosted" -> {
                    HostedRow row = (HostedRow) arguments[0];
                    rows.put(row.id(), row);
                    yield null;
                  }
                  case "deleteHosted" -> rows.remove((String) arguments[0]) != null;
                  case "listHosted" -> List.copyOf(rows.values());
                  case "untilHostStops", "inTransaction" -> applied(arguments[0], self);
                  default -> throw new UnsupportedOperationException(method.getName());
                });
  }

  @SuppressWarnings("unchecked")
  private static Object applied(Object work, Object store) {
    return ((Function<Object, Object>) work).apply(store);
  }

  private static HostedHost host(FakeEngine engine) {
    return new HostedHost() {
      @Override
      public Size size(Tag snapshot) {
        return new Size(engine.snapshot(snapshot).memoryMib(), 2048);
      }

      @Override
      public boolean living(SandboxId sandbox) {
        try {
          return engine.sandbox(sandbox).failure().isEmpty();
        } catch (ForkdException e) {
          return false;
        }
      }

      @Override
      public boolean working(SandboxId sandbox) {
        return living(sandbox);
      }

      @Override
      public GuestUsage usage(SandboxId sandbox) {
        return engine.usage(sandbox);
      }

      @Override
      public Snapshot branch(SandboxId sandbox, Tag tag) {
        return engine.branch(
            sandbox, new BranchSpec(Optional.of(tag), BranchSpec.Mode.DIFF, Optional.empty()));
      }

      @Override
      public void writeDisk(SandboxId sandbox) {
        engine.mayFail();
      }

      @Override
      public Snapshot reboot(Tag from, Tag to) {
        return engine.compact(from, to);
      }

      @Override
      public void endProcesses(SandboxId sandbox) {
        engine
            .processes(sandbox)
            .list()
            .forEach(view ->
                engine
                    .processes(sandbox)
                    .signal(new dev.forkd.engine.ProcessRef.Pid(view.pid()), 9));
      }

      @Override
      public void remove(Tag tag) {
        try {
          engine.deleteSnapshot(tag, DeleteMode.REFUSE);
        } catch (ForkdException e) {
          if (e.code() != ErrorCode.NOT_FOUND && e.code() != ErrorCode.FAILED_PRECONDITION) {
            throw e;
          }
        }
      }
    };
  }
}
