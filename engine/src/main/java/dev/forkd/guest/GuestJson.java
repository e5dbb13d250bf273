package dev.forkd.guest;

import tools.jackson.core.JacksonException;
import tools.jackson.core.StreamReadConstraints;
import tools.jackson.core.json.JsonFactory;
import tools.jackson.databind.JsonNode;
import tools.jackson.databind.json.JsonMapper;

/**
 * Reads the JSON that a guest says. A guest may be hostile, and the bytes of a text do not bound
 * the heap that it takes when it is read: empty objects take many times that of a string as long.
 * So the number of names, values and brackets has a bound too.
 */
final class GuestJson {
  /** Of an agent's answers the list of all its processes has the most, some ten thousands. */
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
   * @throws dev.forkd.api.ForkdException DATA_LOSS when it is no JSON, or has too many parts
   */
  static JsonNode read(byte[] json, String what) {
    try {
      return MAPPER.readTree(json);
    } catch (JacksonException e) {
      throw FrameDecoder.broken(what + " that is not JSON, or of too many parts");
    }
  }
}
