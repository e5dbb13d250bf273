package dev.forkd.local;

import dev.forkd.engine.GuestFiles;
import dev.forkd.sandbox.Sandbox;
import java.io.InputStream;
import java.io.OutputStream;
import java.util.List;
import java.util.Optional;
import java.util.OptionalInt;
import java.util.function.Function;

/** A sandbox's files; it runs while one of these does. */
record SandboxFiles(Sandbox sandbox) implements GuestFiles {

  private <T> T with(Function<GuestFiles, T> work) {
    try (Sandbox.Session session = sandbox.enter()) {
      return work.apply(session.agent().files());
    }
  }

  private void run(java.util.function.Consumer<GuestFiles> work) {
    try (Sandbox.Session session = sandbox.enter()) {
      work.accept(session.agent().files());
    }
  }

  @Override
  public long read(String path, OutputStream sink) {
    return with(files -> files.read(path, sink));
  }

  @Override
  public long write(String path, InputStream source, OptionalInt mode, Optional<String> user) {
    return with(files -> files.write(path, source, mode, user));
  }

  @Override
  public Entry stat(String path) {
    return with(files -> files.stat(path));
  }

  @Override
  public List<Entry> list(String path) {
    return with(files -> files.list(path));
  }

  @Override
  public void makeDirectory(String path) {
    run(files -> files.makeDirectory(path));
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
