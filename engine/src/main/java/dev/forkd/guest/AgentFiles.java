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
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Optional;
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
    return agent
        .call(Map.of("op", "read", "path", checked(path)), sink, STALL)
        .path("size")
        .asLong(0);
  }

  @Override
  public long write(String path, InputStream source, WriteSpec spec) {
    Map<String, Object> request = new LinkedHashMap<>();
    request.put("op", "write");
    request.put("path", checked(path));
    spec.mode().ifPresent(bits -> request.put("mode", bits));
    spec.user().ifPresent(name -> request.put("user", name));
    AgentStream stream = agent.open(request);
    byte[] chunk = new byte[CHUNK_BYTES];
    try {
      for (int n = source.read(chunk); n >= 0; n = source.read(chunk)) {
        stream.sendInput(chunk, 0, n, STALL);
      }
      agent.sendEof(stream);
    } catch (IOException e) {
      agent.cancel(stream);
      throw new ForkdException(
          ErrorCode.CANCELLED, "the source for " + path + " ended: " + e.getMessage(), e);
    } catch (ForkdException e) {
      if (e.code() != ErrorCode.FAILED_PRECONDITION) {
        agent.cancel(stream);
        throw e;
      }
      // The guest has refused: its answer says why.
    }
    return agent
        .drain(stream, OutputStream.nullOutputStream(), STALL, "write")
        .path("size")
        .asLong(0);
  }

  @Override
  public Entry stat(String path) {
    return entry(agent.call(Map.of("op", "stat", "path", checked(path)), STALL));
  }

  @Override
  public List<Entry> list(String path) {
    JsonNode entries =
        agent.call(Map.of("op", "list", "path", checked(path)), STALL).path("entries");
    List<Entry> list = new ArrayList<>();
    entries.forEach(node -> list.add(entry(node)));
    return list;
  }

  @Override
  public Entry follow(String path) {
    throw new ForkdException(ErrorCode.UNIMPLEMENTED, "to be written");
  }

  @Override
  public List<Entry> tree(String path, int depth) {
    throw new ForkdException(ErrorCode.UNIMPLEMENTED, "to be written");
  }

  @Override
  public boolean makeDirectory(String path, Optional<String> user) {
    agent.call(Map.of("op", "mkdir", "path", checked(path)), STALL);
    return true;
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

  private static Entry entry(JsonNode node) {
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
        Optional.empty(),
        Map.of());
  }
}
