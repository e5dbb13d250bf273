package dev.forkd.testkit;

import dev.forkd.api.ErrorCode;
import dev.forkd.api.ForkdException;
import dev.forkd.engine.GuestAccount;
import dev.forkd.engine.GuestFiles;
import dev.forkd.engine.GuestWatch;
import java.io.IOException;
import java.io.InputStream;
import java.io.OutputStream;
import java.io.UncheckedIOException;
import java.util.List;
import java.util.Map;
import java.util.NavigableMap;
import java.util.Optional;
import java.util.concurrent.ConcurrentSkipListMap;
import java.util.concurrent.CopyOnWriteArrayList;
import java.util.function.Consumer;

/**
 * Files of a pretended guest, in memory. A directory is a path without bytes. What is under {@code
 * /full/} finds no room.
 */
final class FakeFiles implements GuestFiles {
  private record Node(
      Optional<byte[]> bytes, int mode, String owner, Map<String, String> metadata) {
    Node(Optional<byte[]> bytes, int mode) {
      this(bytes, mode, "root", Map.of());
    }
  }

  private record Watch(String path, boolean recursive, boolean entries, GuestWatch listener) {}

  private static final String FULL = "/full/";

  private static final int FULL_BYTES = 1 << 20;

  private final FakeDoor door;
  private final List<Watch> watches = new CopyOnWriteArrayList<>();

  FakeFiles(FakeDoor door) {
    this.door = door;
  }

  private void changed(String path, GuestWatch.Kind kind) {
    for (Watch watch : watches) {
      String prefix = watch.path().endsWith("/") ? watch.path() : watch.path() + "/";
      String name = path.startsWith(prefix) ? path.substring(prefix.length()) : "";
      if (!name.isEmpty() && (watch.recursive() || name.indexOf('/') < 0)) {
        boolean told =
            watch.entries() && kind != GuestWatch.Kind.REMOVED && kind != GuestWatch.Kind.RENAMED;
        watch
            .listener()
            .changed(
                new GuestWatch.Change(
                    kind, name, told ? Optional.of(stat(path)) : Optional.empty()));
      }
    }
  }

  private final NavigableMap<String, Node> nodes =
      new ConcurrentSkipListMap<>(
          Map.of(
              "/",
              new Node(Optional.empty(), 0755),
              "/home",
              new Node(Optional.empty(), 0755),
              "/home/user",
              new Node(Optional.empty(), 0755, "user", Map.of())));

  private Node node(String path) {
    Node node = nodes.get(path);
    if (node == null) {
      throw new ForkdException(ErrorCode.NOT_FOUND, "no file " + path + " in the guest");
    }
    return node;
  }

  @Override
  public long read(String path, Range range, OutputStream sink) {
    byte[] bytes =
        node(path)
            .bytes()
            .orElseThrow(() ->
                new ForkdException(
                    ErrorCode.FAILED_PRECONDITION, path + " is a directory in the guest"));
    int from = (int) Math.min(bytes.length, range.offset());
    int length = (int) Math.min(bytes.length - from, range.lengthBytes());
    try (FakeDoor.Pass _ = door.enter()) {
      sink.write(bytes, from, length);
    } catch (IOException e) {
      throw new UncheckedIOException(e);
    }
    return length;
  }

  @Override
  public long write(String path, InputStream source, WriteSpec spec) {
    try (FakeDoor.Pass _ = door.enter()) {
      if (path.startsWith(FULL)) {
        var _ = source.readNBytes(FULL_BYTES);
        throw new ForkdException(ErrorCode.RESOURCE_EXHAUSTED, "No space left on device");
      }
      byte[] bytes = source.readAllBytes();
      for (int i = path.indexOf('/', 1); i > 0; i = path.indexOf('/', i + 1)) {
        makeDirectory(path.substring(0, i));
      }
      Node old =
          nodes.put(
              path,
              new Node(
                  Optional.of(bytes),
                  spec.mode().orElse(0644),
                  spec.user().orElse("root"),
                  spec.metadata().orElse(Map.of())));
      if (old == null) {
        changed(path, GuestWatch.Kind.CREATED);
      }
      changed(path, GuestWatch.Kind.WRITTEN);
      return bytes.length;
    } catch (IOException e) {
      throw new UncheckedIOException(e);
    }
  }

  @Override
  public Entry stat(String path) {
    Node node = node(path);
    return new Entry(
        path,
        node.bytes().isPresent() ? "file" : "directory",
        node.bytes().map(bytes -> (long) bytes.length).orElse(4096L),
        node.mode(),
        0,
        0,
        1_700_000_000_000L,
        node.owner(),
        node.owner(),
        Optional.empty(),
        node.metadata());
  }

  @Override
  public void list(String path, Consumer<Entry> sink) {
    node(path);
    String prefix = path.endsWith("/") ? path : path + "/";
    nodes.keySet().stream()
        .filter(name -> name.startsWith(prefix) && name.length() > prefix.length())
        .filter(name -> name.indexOf('/', prefix.length()) < 0)
        .map(this::stat)
        .forEach(sink);
  }

  @Override
  public Entry follow(String path) {
    return stat(path);
  }

  @Override
  public void tree(String path, int depth, Consumer<Entry> sink) {
    if (node(path).bytes().isPresent()) {
      throw new ForkdException(ErrorCode.FAILED_PRECONDITION, path + " is no directory");
    }
    list(
        path,
        entry -> {
          sink.accept(entry);
          if (depth > 1 && entry.type().equals("directory")) {
            tree(entry.path(), depth - 1, sink);
          }
        });
  }

  @Override
  public boolean makeDirectory(String path, Optional<String> user) {
    if (nodes.containsKey(path) && node(path).bytes().isPresent()) {
      throw new ForkdException(ErrorCode.FAILED_PRECONDITION, path + " is a file");
    }
    boolean made =
        nodes.putIfAbsent(path, new Node(Optional.empty(), 0755, user.orElse("root"), Map.of()))
            == null;
    if (made) {
      changed(path, GuestWatch.Kind.CREATED);
    }
    return made;
  }

  @Override
  public GuestWatch.Handle watch(
      String path, boolean recursive, boolean entries, GuestWatch listener) {
    if (node(path).bytes().isPresent()) {
      throw new ForkdException(ErrorCode.FAILED_PRECONDITION, path + " is no directory");
    }
    Watch watch = new Watch(path, recursive, entries, listener);
    FakeDoor.Pass pass = door.enter();
    watches.add(watch);
    return () -> {
      watches.remove(watch);
      pass.close();
    };
  }

  @Override
  public GuestAccount account(String user) {
    return switch (user) {
      case "root", "0" -> new GuestAccount("root", 0, 0, "/root");
      case "user", "1000" -> new GuestAccount("user", 1000, 1000, "/home/user");
      default -> throw new ForkdException(ErrorCode.NOT_FOUND, "no user " + user);
    };
  }

  @Override
  public void move(String from, String to) {
    nodes.put(to, node(from));
    nodes.remove(from);
    changed(from, GuestWatch.Kind.RENAMED);
    changed(to, GuestWatch.Kind.CREATED);
  }

  @Override
  public void remove(String path) {
    node(path);
    nodes.keySet().removeIf(name -> name.equals(path) || name.startsWith(path + "/"));
    changed(path, GuestWatch.Kind.REMOVED);
  }
}
