package dev.forkd.guest;

import dev.forkd.api.ErrorCode;
import dev.forkd.api.ForkdException;
import tools.jackson.core.JacksonException;
import tools.jackson.core.StreamReadConstraints;
import tools.jackson.core.exc.StreamConstraintsException;
import tools.jackson.core.json.JsonFactory;
import tools.jackson.databind.JsonNode;
import tools.jackson.databind.json.JsonMapper;

/**
 * Reads the JSON that a guest says. A guest may be hostile, and the bytes of a text do not bound
 * the heap that it takes when it is read: empty objects take many times that of a string as long.
 * So the number of names, values and brackets has a bound too.
 */
final class GuestJson {
  /** Of an agent's answers the list of all its processes has the most, mostly below that. */
  static final int TOKENS_MAX = 200_000;

  private static final JsonMapper MAPPER =
      JsonMapper.builder(
              JsonFactory.builder()
                  .streamReadConstraints(
                      StreamReadConstraints.builder().maxTokenCount(TOKENS_MAX).build())
                  .build())
          .build();

  private GuestJson() {}

  /**
   * @param what for people, such as {@code a result}
   * @throws ForkdException DATA_LOSS when it is no JSON, RESOURCE_EXHAUSTED when it has too many
   *     parts
   */
  static JsonNode read(byte[] json, String what) {
    try {
      return MAPPER.readTree(json);
    } catch (StreamConstraintsException e) {
      throw new ForkdException(
          ErrorCode.RESOURCE_EXHAUSTED,
          "the guest agent sent " + what + " of more parts than are read: " + TOKENS_MAX,
          e);
    } catch (JacksonException e) {
      throw FrameDecoder.broken(what + " that is not JSON");
    }
  }
}
