package dev.forkd.guest;

import java.io.OutputStream;
import java.util.Optional;
import java.util.function.Consumer;
import tools.jackson.core.JacksonException;
import tools.jackson.core.JsonParser;
import tools.jackson.core.JsonToken;
import tools.jackson.core.async.ByteArrayFeeder;
import tools.jackson.databind.JsonNode;
import tools.jackson.databind.json.JsonMapper;
import tools.jackson.databind.util.TokenBuffer;

/**
 * Takes a JSON array of objects in pieces, as they come from a guest, and hands on each object when
 * it is whole: the array may be as long as it likes, no more than one object is in memory.
 */
final class ObjectFeed extends OutputStream {
  /** An entry's path of 4096 bytes, where its link leads, and its metadata, with much to spare. */
  private static final int OBJECT_BYTES_MAX = 256 << 10;

  private static final JsonMapper JSON = JsonMapper.shared();

  private final JsonParser parser = JSON.createNonBlockingByteArrayParser();
  private final ByteArrayFeeder feeder = (ByteArrayFeeder) parser.nonBlockingInputFeeder();
  private final Consumer<JsonNode> sink;
  private TokenBuffer object = TokenBuffer.forGeneration();
  private int objectBytes;
  private int depth;
  private boolean begun;

  /**
   * @param sink hears each object, on the thread that writes
   */
  ObjectFeed(Consumer<JsonNode> sink) {
    this.sink = sink;
  }

  @Override
  public void write(int b) {
    write(new byte[] {(byte) b}, 0, 1);
  }

  /**
   * @throws dev.forkd.api.ForkdException DATA_LOSS when it is no such array, or an object too large
   */
  @Override
  public void write(byte[] bytes, int offset, int length) {
    objectBytes += length;
    if (objectBytes > OBJECT_BYTES_MAX) {
      throw FrameDecoder.broken("an entry of more than " + OBJECT_BYTES_MAX + " bytes");
    }
    feeder.feedInput(bytes, offset, offset + length);
    for (Optional<JsonNode> next = next(); next.isPresent(); next = next()) {
      sink.accept(next.get());
    }
  }

  /** The next object that is whole; empty when more has to come first. */
  private Optional<JsonNode> next() {
    try {
      for (JsonToken token = parser.nextToken();
          token != JsonToken.NOT_AVAILABLE;
          token = parser.nextToken()) {
        if (isLast(token)) {
          JsonNode whole = JSON.readTree(object.asParser());
          object = TokenBuffer.forGeneration();
          objectBytes = 0;
          return Optional.of(whole);
        }
      }
      return Optional.empty();
    } catch (JacksonException e) {
      throw FrameDecoder.broken("a list that is not JSON");
    }
  }

  /** Whether an object is whole with this token. */
  private boolean isLast(JsonToken token) {
    int outside = depth;
    if (token.isStructStart()) {
      depth++;
    } else if (token.isStructEnd()) {
      depth--;
    }
    if (outside > 1 || (outside == 1 && token == JsonToken.START_OBJECT)) {
      object.copyCurrentEvent(parser);
      return depth == 1;
    }
    boolean bracket = outside == 0 ? !begun && token == JsonToken.START_ARRAY : depth == 0;
    if (!bracket) {
      throw FrameDecoder.broken("a list that is none");
    }
    begun = true;
    return false;
  }

  /**
   * To be called when no more comes. Nothing at all is as good as a whole array.
   *
   * @throws dev.forkd.api.ForkdException DATA_LOSS when the array has no end
   */
  void end() {
    if (depth > 0 || (!begun && objectBytes > 0)) {
      throw FrameDecoder.broken("a list that breaks off");
    }
  }
}
