package dev.forkd.http.connect;

import com.fasterxml.jackson.annotation.JsonInclude;
import dev.forkd.http.HeapBudget;
import java.util.Base64;
import java.util.Optional;
import tools.jackson.core.JacksonException;
import tools.jackson.core.JsonParser;
import tools.jackson.core.JsonToken;
import tools.jackson.core.StreamReadConstraints;
import tools.jackson.core.json.JsonFactory;
import tools.jackson.databind.DeserializationFeature;
import tools.jackson.databind.cfg.CoercionAction;
import tools.jackson.databind.cfg.CoercionInputShape;
import tools.jackson.databind.json.JsonMapper;
import tools.jackson.databind.type.LogicalType;

/**
 * Messages as protobuf maps them to JSON, from and to records whose components are named as on the
 * wire: what is absent or null has its default, unknown fields are passed over, numbers may come as
 * text. Whole numbers of 64 bits are written as text, which a record says by having a String there.
 *
 * @see <a href="https://protobuf.dev/programming-guides/json/">ProtoJSON</a>
 */
public final class ConnectMessages {
  private static final int REASON_CHARS_MAX = 300;

  /** More names, values and brackets than any message needs. */
  static final int TOKENS_MAX = 50_000;

  /** A short text in a list or map takes about so much of the heap beside its bytes. */
  private static final int TOKEN_BYTES = 64;

  private static final JsonMapper MAPPER =
      JsonMapper.builder(
              JsonFactory.builder()
                  .streamReadConstraints(
                      StreamReadConstraints.builder().maxTokenCount(TOKENS_MAX).build())
                  .build())
          .changeDefaultPropertyInclusion(
              inclusion -> inclusion.withValueInclusion(JsonInclude.Include.NON_ABSENT))
          .disable(DeserializationFeature.FAIL_ON_UNKNOWN_PROPERTIES)
          .disable(DeserializationFeature.FAIL_ON_NULL_FOR_PRIMITIVES)
          .disable(DeserializationFeature.ACCEPT_FLOAT_AS_INT)
          .enable(DeserializationFeature.FAIL_ON_TRAILING_TOKENS)
          .withCoercionConfig(
              LogicalType.Textual,
              coercion ->
                  coercion
                      .setCoercion(CoercionInputShape.Integer, CoercionAction.Fail)
                      .setCoercion(CoercionInputShape.Float, CoercionAction.Fail)
                      .setCoercion(CoercionInputShape.Boolean, CoercionAction.Fail))
          .withCoercionConfig(
              LogicalType.Boolean,
              coercion ->
                  coercion
                      .setCoercion(CoercionInputShape.Integer, CoercionAction.Fail)
                      .setCoercion(CoercionInputShape.String, CoercionAction.Fail))
          .build();

  private ConnectMessages() {}

  public static byte[] write(Object message) {
    return MAPPER.writeValueAsBytes(message);
  }

  /**
   * Reads one message. Nothing is made of what the type does not name, or whoever sends many small
   * things would take far more of the heap than they send.
   *
   * @param held counts what the message's parts take beside its bytes
   * @throws ConnectException INVALID_ARGUMENT when the bytes are not such a message
   * @throws dev.forkd.api.ForkdException RESOURCE_EXHAUSTED when there is no room for its parts
   */
  public static <T> T read(byte[] bytes, Class<T> type, HeapBudget.Share held) {
    try (JsonParser parser = MAPPER.createParser(bytes)) {
      if (parser.nextToken() != JsonToken.START_OBJECT) {
        throw new ConnectException(
            ConnectCode.INVALID_ARGUMENT, "the message is not a JSON object; send at least {}");
      }
      T message = MAPPER.readValue(parser, type);
      held.hold(parser.currentTokenCount() * TOKEN_BYTES);
      return message;
    } catch (JacksonException e) {
      throw new ConnectException(
          ConnectCode.INVALID_ARGUMENT, "the message cannot be read: " + reason(e), e);
    }
  }

  private static String reason(JacksonException e) {
    String text = String.valueOf(e.getOriginalMessage()).lines().findFirst().orElse("");
    return text.length() <= REASON_CHARS_MAX ? text : text.substring(0, REASON_CHARS_MAX) + "…";
  }

  /**
   * The bytes of a field: standard or URL-safe base64, padded or not; none when absent.
   *
   * @throws ConnectException INVALID_ARGUMENT when it is not base64
   */
  public static byte[] bytes(Optional<String> base64) {
    try {
      return Base64.getDecoder().decode(base64.orElse("").replace('-', '+').replace('_', '/'));
    } catch (IllegalArgumentException e) {
      throw new ConnectException(ConnectCode.INVALID_ARGUMENT, "a field of bytes is not base64", e);
    }
  }

  /** The same the other way. */
  public static String base64(byte[] bytes) {
    return Base64.getEncoder().encodeToString(bytes);
  }
}
