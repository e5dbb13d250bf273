package dev.forkd.guest;

import dev.forkd.api.ErrorCode;
import dev.forkd.api.ForkdException;
import dev.forkd.engine.GuestAccount;
import dev.forkd.engine.GuestFiles;
import dev.forkd.engine.GuestWatch;
import java.io.IOException;
import java.io.InputStream;
import java.io.OutputStream;
import java.time.Duration;
import java.util.LinkedHashMap;
import java.util.Map;
import java.util.Optional;
import java.util.function.Consumer;
import tools.jackson.databind.JsonNode;

/** A guest's files through its agent. */
public final class AgentFiles implements GuestFiles {
  /** How long a transfer may stand still. */
  private static final Duration STALL = Duration.ofSeconds(60);

  private static final int CHUNK_BYTES = 64 << 10;

  private final GuestAgent agent;

  AgentFiles(GuestAgent agent) {
    this.agent = agent;
  }

  @Override
  public long read(String path, Range range, OutputStream sink) {
    Map<String, Object> request = new LinkedHashMap<>();
    request.put("op", "read");
    request.put("path", checked(path));
    if (range.offset() > 0) {
      request.put("offset", range.offset());
    }
    if (range.lengthBytes() < Long.MAX_VALUE) {
      request.put("length", range.lengthBytes());
    }
    return agent.call(request, sink, STALL).path("size").asLong(0);
  }

  @Override
  public long write(String path, InputStream source, WriteSpec spec) {
    Map<String, Object> request = new LinkedHashMap<>();
    request.put("op", "write");
    request.put("path", checked(path));
    spec.mode().ifPresent(bits -> request.put("mode", bits));
    spec.user().ifPresent(name -> request.put("user", name));
    spec.metadata().ifPresent(words -> request.put("metadata", words));
    request.put("inPlace", spec.inPlace());
    AgentStream stream = agent.open(request);
    try {
      send(source, stream);
      return agent
          .drain(stream, OutputStream.nullOutputStream(), STALL, "write")
          .path("size")
          .asLong(0);
    } catch (IOException e) {
      throw new ForkdException(
          ErrorCode.CANCELLED, "the source for " + path + " ended: " + e.getMessage(), e);
    } finally {
      agent.cancel(stream, "the transfer was given up"); // Unless it has ended by itself.
    }
  }

  private void send(InputStream source, AgentStream stream) throws IOException {
    byte[] chunk = new byte[CHUNK_BYTES];
    for (int n = source.read(chunk); n >= 0; n = source.read(chunk)) {
      try {
        stream.sendInput(chunk, 0, n, STALL);
      } catch (ForkdException e) {
        if (e.code() == ErrorCode.FAILED_PRECONDITION) {
          return; // The guest has refused: its answer says why.
        }
        throw e;
      }
    }
    agent.sendEof(stream);
  }

  @Override
  public Entry stat(String path) {
    return entry(agent.call(Map.of("op", "stat", "path", checked(path)), STALL));
  }

  @Override
  public void list(String path, Consumer<Entry> sink) {
    entries(Map.of("op", "list", "path", checked(path)), sink);
  }

  /** Few come with the result, many before it. */
  private void entries(Map<String, ?> request, Consumer<Entry> sink) {
    ObjectFeed many = new ObjectFeed(node -> sink.accept(entry(node)));
    JsonNode answer = agent.call(request, many, STALL);
    many.end();
    answer.path("entries").forEach(node -> sink.accept(entry(node)));
  }

  @Override
  public Entry follow(String path) {
    return entry(agent.call(Map.of("op", "stat", "path", checked(path), "follow", true), STALL));
  }

  @Override
  public void tree(String path, int depth, Consumer<Entry> sink) {
    entries(Map.of("op", "tree", "path", checked(path), "depth", depth), sink);
  }

  @Override
  public boolean makeDirectory(String path, Optional<String> user) {
    Map<String, Object> request = new LinkedHashMap<>();
    request.put("op", "mkdir");
    request.put("path", checked(path));
    user.ifPresent(name -> request.put("user", name));
    return agent.call(request, STALL).path("made").asBoolean(true);
  }

  @Override
  public GuestWatch.Handle watch(
      String path, boolean recursive, boolean entries, GuestWatch listener) {
    AgentStream stream =
        agent.open(
            Map.of(
                "op", "watch", "path", checked(path), "recursive", recursive, "entries", entries));
    return AgentWatch.begin(agent, stream, listener);
  }

  @Override
  public GuestAccount account(String user) {
    JsonNode said = agent.call(Map.of("op", "account", "user", user), STALL);
    return new GuestAccount(
        said.path("name").asString(user),
        said.path("uid").asInt(0),
        said.path("gid").asInt(0),
        said.path("home").asString("/"));
  }

  @Override
  public void move(String from, String to) {
    agent.call(Map.of("op", "move", "from", checked(from), "to", checked(to)), STALL);
  }

  @Override
  public void remove(String path) {
    agent.call(Map.of("op", "remove", "path", checked(path)), STALL);
  }

  private static String checked(String path) {
    if (!path.startsWith("/") || path.indexOf('\0') >= 0) {
      throw new ForkdException(
          ErrorCode.INVALID_ARGUMENT, "guest path '" + path + "' must be absolute");
    }
    return path;
  }

  static Entry entry(JsonNode node) {
    Map<String, String> metadata = new LinkedHashMap<>();
    node.path("metadata")
        .properties()
        .forEach(e -> metadata.put(e.getKey(), e.getValue().asString("")));
    return new Entry(
        node.path("path").asString(""),
        node.path("type").asString("other"),
        node.path("size").asLong(0),
        node.path("mode").asInt(0),
        node.path("uid").asInt(0),
        node.path("gid").asInt(0),
        node.path("modifiedMillis").asLong(0),
        node.path("owner").asString(""),
        node.path("group").asString(""),
        GuestAgent.text(node, "target"),
        metadata);
  }
}
