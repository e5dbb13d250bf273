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

/** Files of a pretended guest, in memory. A directory is a path without bytes. */
final class FakeFiles implements GuestFiles {
  private record Node(Optional<byte[]> bytes, int mode) {}

  private final NavigableMap<String, Node> nodes =
      new ConcurrentSkipListMap<>(Map.of("/", new Node(Optional.empty(), 0755)));

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
    try {
      sink.write(bytes);
    } catch (IOException e) {
      throw new UncheckedIOException(e);
    }
    return bytes.length;
  }

  @Override
  public long write(String path, InputStream source, WriteSpec spec) {
    try {
      byte[] bytes = source.readAllBytes();
      for (int i = path.indexOf('/', 1); i > 0; i = path.indexOf('/', i + 1)) {
        makeDirectory(path.substring(0, i));
      }
      nodes.put(path, new Node(Optional.of(bytes), spec.mode().orElse(0644)));
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
        node.bytes().map(bytes -> (long) bytes.length).orElse(0L),
        node.mode(),
        0,
        0,
        1_700_000_000_000L,
        "root",
        "root",
        Optional.empty(),
        Map.of());
  }

  @Override
  public List<Entry> list(String path) {
    node(path);
    String prefix = path.endsWith("/") ? path : path + "/";
    return nodes.keySet().stream()
        .filter(name -> name.startsWith(prefix) && name.length() > prefix.length())
        .filter(name -> name.indexOf('/', prefix.length()) < 0)
        .map(this::stat)
        .toList();
  }

  @Override
  public Entry follow(String path) {
    return stat(path);
  }

  @Override
  public List<Entry> tree(String path, int depth) {
    throw new ForkdException(ErrorCode.UNIMPLEMENTED, "to be written");
  }

  @Override
  public boolean makeDirectory(String path, Optional<String> user) {
    return nodes.putIfAbsent(path, new Node(Optional.empty(), 0755)) == null;
  }

  @Override
  public GuestWatch.Handle watch(
      String path, boolean recursive, boolean entries, GuestWatch listener) {
    throw new ForkdException(ErrorCode.UNIMPLEMENTED, "to be written");
  }

  @Override
  public GuestAccount account(String user) {
    throw new ForkdException(ErrorCode.UNIMPLEMENTED, "to be written");
  }

  @Override
  public void move(String from, String to) {
    nodes.put(to, node(from));
    nodes.remove(from);
  }

  @Override
  public void remove(String path) {
    node(path);
    nodes.keySet().removeIf(name -> name.equals(path) || name.startsWith(path + "/"));
  }
}
