package dev.forkd.local;

import dev.forkd.api.ForkdException;
import dev.forkd.engine.GuestAccount;
import dev.forkd.engine.GuestFiles;
import dev.forkd.engine.GuestWatch;
import dev.forkd.sandbox.Sandbox;
import java.io.InputStream;
import java.io.OutputStream;
import java.util.Optional;
import java.util.function.Consumer;
import java.util.function.Function;

/** A sandbox's files; it runs while one of these does. */
record SandboxFiles(Sandbox sandbox) implements GuestFiles {

  private <T> T with(Function<GuestFiles, T> work) {
    try (Sandbox.Session session = sandbox.enter()) {
      return work.apply(session.agent().files());
    }
  }

  private void run(Consumer<GuestFiles> work) {
    try (Sandbox.Session session = sandbox.enter()) {
      work.accept(session.agent().files());
    }
  }

  @Override
  public long read(String path, Range range, OutputStream sink) {
    return with(files -> files.read(path, range, sink));
  }

  @Override
  public long write(String path, InputStream source, WriteSpec spec) {
    return with(files -> files.write(path, source, spec));
  }

  @Override
  public Entry stat(String path) {
    return with(files -> files.stat(path));
  }

  @Override
  public void list(String path, Consumer<Entry> sink) {
    run(files -> files.list(path, sink));
  }

  @Override
  public Entry follow(String path) {
    return with(files -> files.follow(path));
  }

  @Override
  public void tree(String path, int depth, Consumer<Entry> sink) {
    run(files -> files.tree(path, depth, sink));
  }

  @Override
  public boolean makeDirectory(String path, Optional<String> user) {
    return with(files -> files.makeDirectory(path, user));
  }

  @Override
  public GuestWatch.Handle watch(
      String path, boolean recursive, boolean entries, GuestWatch listener) {
    Sandbox.Session session = sandbox.enter();
    try {
      GuestWatch.Handle watch =
          session.agent().files().watch(path, recursive, entries, ending(listener, session));
      return () -> {
        watch.close();
        session.close();
      };
    } catch (RuntimeException e) {
      session.close();
      throw e;
    }
  }

  private static GuestWatch ending(GuestWatch listener, Sandbox.Session session) {
    return new GuestWatch() {
      @Override
      public void changed(Change change) {
        listener.changed(change);
      }

      @Override
      public void ended(ForkdException why) {
        session.close();
        listener.ended(why);
      }
    };
  }

  @Override
  public GuestAccount account(String user) {
    return with(files -> files.account(user));
  }

  @Override
  public void move(String from, String to) {
    run(files -> files.move(from, to));
  }

  @Override
  public void remove(String path) {
    run(files -> files.remove(path));
  }
}
