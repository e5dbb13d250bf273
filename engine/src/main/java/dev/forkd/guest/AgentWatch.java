package dev.forkd.guest;

import dev.forkd.api.ErrorCode;
import dev.forkd.api.ForkdException;
import dev.forkd.api.Threads;
import dev.forkd.engine.GuestWatch;
import java.io.ByteArrayOutputStream;
import java.time.Duration;
import java.util.Optional;
import java.util.concurrent.atomic.AtomicBoolean;
import tools.jackson.databind.JsonNode;

/** A watched folder: the agent sends a line of JSON for each change. */
final class AgentWatch implements GuestWatch.Handle {
  private static final Duration BEGIN_TIMEOUT = Duration.ofSeconds(30);

  /** How long to wait at a time; a folder may be quiet for as long as it likes. */
  private static final Duration TURN = Duration.ofHours(1);

  /** A line is a name of at most 4096 bytes, an entry with a path of as many, and its metadata. */
  private static final int LINE_BYTES_MAX = 256 << 10;

  private final GuestAgent agent;
  private final AgentStream stream;
  private final AtomicBoolean closed = new AtomicBoolean();
  private final ByteArrayOutputStream line = new ByteArrayOutputStream();

  private AgentWatch(GuestAgent agent, AgentStream stream) {
    this.agent = agent;
    this.stream = stream;
  }

  /** Returns when the guest watches. */
  static AgentWatch begin(GuestAgent agent, AgentStream stream, GuestWatch listener) {
    Optional<AgentStream.Item> first = stream.next(BEGIN_TIMEOUT);
    if (first.isPresent() && first.get() instanceof AgentStream.Item.Failed(ForkdException why)) {
      throw new ForkdException(why.code(), why.message(), why);
    }
    if (first.isEmpty() || !(first.get() instanceof AgentStream.Item.Note)) {
      agent.cancel(stream, "the watch did not begin");
      throw new ForkdException(
          ErrorCode.DEADLINE_EXCEEDED, "the guest did not begin to watch within " + BEGIN_TIMEOUT);
    }
    AgentWatch watch = new AgentWatch(agent, stream);
    Threads.virtual("watch-" + agent.who(), () -> watch.run(listener));
    return watch;
  }

  private void run(GuestWatch listener) {
    try {
      while (true) {
        Optional<AgentStream.Item> item = stream.next(TURN);
        if (item.isPresent() && item.get() instanceof AgentStream.Item.Data(_, byte[] bytes)) {
          take(bytes, listener);
        } else if (item.isPresent()
            && item.get() instanceof AgentStream.Item.Failed(ForkdException why)) {
          throw new ForkdException(why.code(), why.message(), why);
        } else if (item.isPresent()) {
          throw FrameDecoder.broken("the end of a watch without a reason");
        }
      }
    } catch (ForkdException e) {
      if (closed.compareAndSet(false, true)) {
        agent.cancel(stream, "the watch failed");
        listener.ended(e);
      }
    }
  }

  private void take(byte[] bytes, GuestWatch listener) {
    for (byte b : bytes) {
      if (b != '\n') {
        line.write(b);
        continue;
      }
      byte[] whole = line.toByteArray();
      line.reset();
      if (!closed.get()) {
        listener.changed(change(whole));
      }
    }
    if (line.size() > LINE_BYTES_MAX) {
      throw FrameDecoder.broken("a change of more than " + LINE_BYTES_MAX + " bytes");
    }
  }

  private static GuestWatch.Change change(byte[] json) {
    JsonNode node = GuestJson.read(json, "a change");
    GuestWatch.Kind kind =
        switch (node.path("kind").asString("")) {
          case "created" -> GuestWatch.Kind.CREATED;
          case "written" -> GuestWatch.Kind.WRITTEN;
          case "removed" -> GuestWatch.Kind.REMOVED;
          case "renamed" -> GuestWatch.Kind.RENAMED;
          case "modeChanged" -> GuestWatch.Kind.MODE_CHANGED;
          default -> throw FrameDecoder.broken("a change of no known kind");
        };
    JsonNode entry = node.path("entry");
    return new GuestWatch.Change(
        kind,
        node.path("name").asString(""),
        entry.isObject() ? Optional.of(AgentFiles.entry(entry)) : Optional.empty());
  }

  @Override
  public void close() {
    if (closed.compareAndSet(false, true)) {
      agent.cancel(stream, "the watch was ended");
    }
  }
}
