package dev.forkd.api.rest;

import com.fasterxml.jackson.annotation.JsonInclude;
import java.io.IOException;
import java.io.OutputStream;
import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.List;
import tools.jackson.core.JacksonException;
import tools.jackson.core.StreamWriteFeature;
import tools.jackson.core.exc.JacksonIOException;
import tools.jackson.databind.DeserializationFeature;
import tools.jackson.databind.JsonNode;
import tools.jackson.databind.MapperFeature;
import tools.jackson.databind.PropertyNamingStrategies;
import tools.jackson.databind.cfg.CoercionAction;
import tools.jackson.databind.cfg.CoercionInputShape;
import tools.jackson.databind.json.JsonMapper;
import tools.jackson.databind.type.LogicalType;

/** The one codec of the REST messages: strict about types, silent about unknown fields. */
public final class Json {
  /** Longest part of the codec's own words that is passed on to a caller. */
  private static final int REASON_CHARS_MAX = 300;

  private static final JsonMapper MAPPER =
      JsonMapper.builder()
          .propertyNamingStrategy(PropertyNamingStrategies.SNAKE_CASE)
          .changeDefaultPropertyInclusion(
              inclusion -> inclusion.withValueInclusion(JsonInclude.Include.NON_ABSENT))
          .disable(DeserializationFeature.FAIL_ON_UNKNOWN_PROPERTIES)
          .disable(DeserializationFeature.FAIL_ON_NULL_FOR_PRIMITIVES)
          .disable(DeserializationFeature.ACCEPT_FLOAT_AS_INT)
          .enable(DeserializationFeature.FAIL_ON_TRAILING_TOKENS)
          .disable(MapperFeature.ALLOW_COERCION_OF_SCALARS)
          .disable(MapperFeature.SORT_PROPERTIES_ALPHABETICALLY)
          .withCoercionConfig(
              LogicalType.Textual,
              coercion ->
                  coercion
                      .setCoercion(CoercionInputShape.Integer, CoercionAction.Fail)
                      .setCoercion(CoercionInputShape.Float, CoercionAction.Fail)
                      .setCoercion(CoercionInputShape.Boolean, CoercionAction.Fail))
          .build();

  private Json() {}

  /** Compact JSON in UTF-8. */
  public static byte[] write(Object message) {
    return MAPPER.writeValueAsBytes(message);
  }

  /** Writes compact JSON in UTF-8 piece by piece; the stream stays open. */
  public static void write(Object message, OutputStream into) throws IOException {
    try {
      MAPPER.writer().without(StreamWriteFeature.AUTO_CLOSE_TARGET).writeValue(into, message);
    } catch (JacksonIOException e) {
      throw e.getCause();
    }
  }

  /** Compact JSON, without a line end in it: fit for one line of NDJSON. */
  public static String text(Object message) {
    return MAPPER.writeValueAsString(message);
  }

  /**
   * Reads one message.
   *
   * @throws MalformedJsonException when the bytes are not such a message
   */
  public static <T> T read(byte[] bytes, Class<T> type) {
    return convert(parse(bytes), type);
  }

  /** Reads one message from text. */
  public static <T> T read(String text, Class<T> type) {
    return read(text.getBytes(StandardCharsets.UTF_8), type);
  }

  /** Reads an array of messages. */
  public static <T> List<T> readList(byte[] bytes, Class<T> elementType) {
    JsonNode tree = parse(bytes);
    if (!tree.isArray()) {
      throw new MalformedJsonException(
          MalformedJsonException.Fault.SHAPE,
          "JSON of the wrong shape: not an array",
          new IllegalArgumentException("not an array"));
    }
    List<T> messages = new ArrayList<>(tree.size());
    for (JsonNode element : tree) {
      messages.add(convert(element, elementType));
    }
    return List.copyOf(messages);
  }

  private static JsonNode parse(byte[] bytes) {
    JsonNode tree;
    try {
      tree = MAPPER.readTree(bytes);
    } catch (JacksonException e) {
      throw new MalformedJsonException(
          MalformedJsonException.Fault.SYNTAX, "not valid JSON: " + reason(e), e);
    }
    if (tree.isMissingNode()) {
      throw new MalformedJsonException(
          MalformedJsonException.Fault.SYNTAX,
          "not valid JSON: it is empty; send at least {}",
          new IllegalArgumentException("empty"));
    }
    return tree;
  }

  private static <T> T convert(JsonNode tree, Class<T> type) {
    if (tree.isNull()) {
      throw new MalformedJsonException(
          MalformedJsonException.Fault.SHAPE,
          "JSON of the wrong shape: null where a message belongs",
          new IllegalArgumentException("null"));
    }
    try {
      return MAPPER.treeToValue(tree, type);
    } catch (JacksonException e) {
      throw new MalformedJsonException(
          MalformedJsonException.Fault.SHAPE, "JSON of the wrong shape: " + reason(e), e);
    }
  }

  /** The codec's first sentence: no class names' tail, no source excerpt. */
  private static String reason(JacksonException e) {
    String text = String.valueOf(e.getOriginalMessage()).lines().findFirst().orElse("");
    String path =
        e.getPath().stream()
            .map(step ->
                step.getPropertyName() == null
                    ? "[" + step.getIndex() + "]"
                    : "." + step.getPropertyName())
            .collect(java.util.stream.Collectors.joining());
    String where = path.isEmpty() ? "" : " at " + path.substring(path.startsWith(".") ? 1 : 0);
    String whole = text + where;
    return whole.length() <= REASON_CHARS_MAX ? whole : whole.substring(0, REASON_CHARS_MAX) + "…";
  }
}
