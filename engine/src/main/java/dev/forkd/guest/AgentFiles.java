package dev.forkd.guest;

import dev.forkd.api.ErrorCode;
import dev.forkd.api.ForkdException;
import dev.forkd.engine.GuestAccount;
import dev.forkd.engine.GuestFiles;
import dev.forkd.engine.GuestWatch;
import java.io.ByteArrayOutputStream;
import java.io.IOException;
import java.io.InputStream;
import java.io.OutputStream;
import java.time.Duration;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import tools.jackson.core.JacksonException;
import tools.jackson.databind.JsonNode;
import tools.jackson.databind.MappingIterator;
import tools.jackson.databind.json.JsonMapper;

/** A guest's files through its agent. */
public final class AgentFiles implements GuestFiles {
  /** How long a transfer may stand still. */
  private static final Duration STALL = Duration.ofSeconds(60);

  private static final int CHUNK_BYTES = 64 << 10;

  /** Of a list as the guest sends it: some hundred thousand entries. */
  private static final int LIST_BYTES_MAX = 32 << 20;

  private static final JsonMapper JSON = JsonMapper.shared();

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
  public List<Entry> list(String path) {
    return entries(Map.of("op", "list", "path", checked(path)));
  }

  /** Few come with the result, many before it. */
  private List<Entry> entries(Map<String, ?> request) {
    ByteArrayOutputStream many = new ByteArrayOutputStream();
    JsonNode answer = agent.call(request, limited(many, "" + request.get("path")), STALL);
    List<Entry> list = new ArrayList<>();
    if (many.size() == 0) {
      answer.path("entries").forEach(node -> list.add(entry(node)));
      return list;
    }
    try (MappingIterator<JsonNode> nodes =
        JSON.readerFor(JsonNode.class).readValues(many.toByteArray())) {
      while (nodes.hasNext()) {
        list.add(entry(nodes.next()));
      }
    } catch (JacksonException e) {
      throw FrameDecoder.broken("a list that is not JSON");
    }
    return list;
  }

  private static OutputStream limited(ByteArrayOutputStream into, String path) {
    return new OutputStream() {
      @Override
      public void write(int b) {
        write(new byte[] {(byte) b}, 0, 1);
      }

      @Override
      public void write(byte[] bytes, int offset, int length) {
        if (into.size() + length > LIST_BYTES_MAX) {
          throw new ForkdException(
              ErrorCode.FAILED_PRECONDITION,
              "'"
                  + path
                  + "' has more entries than one list takes ("
                  + LIST_BYTES_MAX
                  + " bytes); list less deep or the folders in it, or use a command");
        }
        into.write(bytes, offset, length);
      }
    };
  }

  @Override
  public Entry follow(String path) {
    return entry(agent.call(Map.of("op", "stat", "path", checked(path), "follow", true), STALL));
  }

  @Override
  public List<Entry> tree(String path, int depth) {
    return entries(Map.of("op", "tree", "path", checked(path), "depth", depth));
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
