package dev.forkd.sdk.hosted;

import dev.forkd.api.ErrorCode;
import dev.forkd.api.Threads;
import dev.forkd.sdk.ForkdApiException;
import java.io.IOException;
import java.io.InputStream;
import java.net.URLEncoder;
import java.net.http.HttpRequest;
import java.net.http.HttpRequest.BodyPublisher;
import java.net.http.HttpRequest.BodyPublishers;
import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.function.Consumer;
import tools.jackson.databind.JsonNode;

/** The files of a hosted sandbox. Relative paths are below the home of the template's user. */
public final class HostedFiles {
  private static final String SERVICE = "filesystem.Filesystem/";

  private final Wire wire;
  private final Wire.Access access;

  HostedFiles(Wire wire, Wire.Access access) {
    this.wire = wire;
    this.access = access;
  }

  /**
   * What is at a path; of a symbolic link, what it leads to.
   *
   * @param type {@code file}, {@code directory} or {@code unknown}
   * @param mode permission bits
   */
  public record Entry(
      String name,
      String path,
      String type,
      long sizeBytes,
      int mode,
      String owner,
      Optional<String> linkTarget) {}

  /** A change in a watched folder; {@code name} is below it. */
  public record Change(Kind kind, String name) {
    /** What happened. */
    public enum Kind {
      CREATE,
      WRITE,
      REMOVE,
      RENAME,
      CHMOD
    }
  }

  private static String query(String path) {
    return "/files?path=" + URLEncoder.encode(path, StandardCharsets.UTF_8);
  }

  /** The file as it comes; to be closed. */
  public InputStream open(String path) {
    HttpRequest.Builder request = wire.toPort(access.id(), Wire.ENVD_PORT, query(path)).GET();
    access.authorize(request, Optional.empty());
    return wire.stream(request.build());
  }

  public byte[] readBytes(String path) {
    try (InputStream in = open(path)) {
      return in.readAllBytes();
    } catch (IOException e) {
      throw wire.unreachable(e);
    }
  }

  public String read(String path) {
    return new String(readBytes(path), StandardCharsets.UTF_8);
  }

  public void write(String path, String text) {
    write(path, text.getBytes(StandardCharsets.UTF_8));
  }

  public void write(String path, byte[] bytes) {
    upload(path, BodyPublishers.ofByteArray(bytes));
  }

  /** Writes all that {@code source} gives. */
  public void write(String path, InputStream source) {
    upload(path, BodyPublishers.ofInputStream(() -> source));
  }

  private void upload(String path, BodyPublisher body) {
    HttpRequest.Builder request =
        wire.toPort(access.id(), Wire.ENVD_PORT, query(path))
            .header("Content-Type", "application/octet-stream")
            .POST(body);
    access.authorize(request, Optional.empty());
    try (InputStream answer = wire.stream(request.build())) {
      answer.readAllBytes();
    } catch (IOException e) {
      throw wire.unreachable(e);
    }
  }

  /** The entries of a folder, sorted by name. */
  public List<Entry> list(String path) {
    return list(path, 1);
  }

  /** The entries below a folder, down to so many levels, each folder before what is in it. */
  public List<Entry> list(String path, int depth) {
    List<Entry> all = new ArrayList<>();
    call("ListDir", Map.of("path", path, "depth", depth))
        .path("entries")
        .forEach(node -> all.add(entry(node)));
    return all;
  }

  public Entry info(String path) {
    return entry(call("Stat", Map.of("path", path)).path("entry"));
  }

  public boolean exists(String path) {
    try {
      info(path);
      return true;
    } catch (ForkdApiException e) {
      if (e.code() == ErrorCode.NOT_FOUND && e.status() == 404) {
        return false;
      }
      throw e;
    }
  }

  /** Makes a folder with its parents; false when it was there. */
  public boolean makeDirectory(String path) {
    try {
      call("MakeDir", Map.of("path", path));
      return true;
    } catch (ForkdApiException e) {
      if (e.code() == ErrorCode.ALREADY_EXISTS) {
        return false;
      }
      throw e;
    }
  }

  public Entry move(String from, String to) {
    return entry(call("Move", Map.of("source", from, "destination", to)).path("entry"));
  }

  /** Removes a file, or a folder with all in it; what is not there is fine. */
  public void remove(String path) {
    call("Remove", Map.of("path", path));
  }

  /** A folder that is watched; closing it ends that. */
  public interface Watch extends AutoCloseable {
    @Override
    void close();
  }

  /**
   * Watches a folder.
   *
   * @param listener hears the changes, on one thread
   */
  public Watch watch(String path, boolean recursive, Consumer<Change> listener) {
    Map<String, Object> message = new LinkedHashMap<>();
    message.put("path", path);
    message.put("recursive", recursive);
    Wire.Messages messages =
        wire.open(access, SERVICE + "WatchDir", message, Optional.empty(), Optional.empty());
    java.util.concurrent.CompletableFuture<Boolean> begun =
        new java.util.concurrent.CompletableFuture<>();
    Threads.virtual(
        "hosted-watch",
        () -> {
          try {
            messages.forEach(event -> {
              if (event.has("start")) {
                begun.complete(true);
              } else if (event.has("filesystem")) {
                listener.accept(change(event.path("filesystem")));
              }
            });
          } catch (RuntimeException e) {
            begun.completeExceptionally(e);
          }
        });
    try {
      begun.join();
    } catch (java.util.concurrent.CompletionException e) {
      throw e.getCause() instanceof ForkdApiException known ? known : e;
    }
    return messages::close;
  }

  private static Change change(JsonNode node) {
    String type = node.path("type").asString("EVENT_TYPE_WRITE");
    return new Change(
        Change.Kind.valueOf(type.substring("EVENT_TYPE_".length())),
        node.path("name").asString(""));
  }

  private JsonNode call(String method, Map<String, ?> message) {
    return wire.call(access, SERVICE + method, message, Optional.empty());
  }

  private static Entry entry(JsonNode node) {
    return new Entry(
        node.path("name").asString(""),
        node.path("path").asString(""),
        switch (node.path("type").asString("")) {
          case "FILE_TYPE_FILE" -> "file";
          case "FILE_TYPE_DIRECTORY" -> "directory";
          default -> "unknown";
        },
        Long.parseLong(node.path("size").asString("0")),
        node.path("mode").asInt(0),
        node.path("owner").asString(""),
        node.has("symlinkTarget")
            ? Optional.of(node.path("symlinkTarget").asString(""))
            : Optional.empty());
  }
}
