package dev.forkd.http;

import static org.assertj.core.api.Assertions.assertThat;

import com.fasterxml.jackson.annotation.JsonProperty;
import dev.forkd.api.rest.ErrorBody;
import dev.forkd.http.rest.RestRoutes;
import dev.forkd.metrics.Meters;
import dev.forkd.testkit.FakeEngine;
import java.io.IOException;
import java.lang.reflect.RecordComponent;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.TreeMap;
import java.util.TreeSet;
import java.util.regex.Matcher;
import java.util.regex.Pattern;
import org.junit.jupiter.api.BeforeAll;
import org.junit.jupiter.api.Test;

/**
 * docs/openapi.yaml tells the routes and messages that there are, and no others. The document is
 * indented by two spaces per level throughout, so lines suffice to read it.
 */
class OpenApiTest {
  private static final Pattern PATH = Pattern.compile("^ {2}(/\\S*):$");
  private static final Pattern METHOD = Pattern.compile("^ {4}(get|put|post|delete):$");
  private static final Pattern SCHEMA = Pattern.compile("^ {4}(\\w+):$");
  private static final Pattern PROPERTY = Pattern.compile("^ {8}(\\w+):$");
  private static final Pattern REFERENCE = Pattern.compile("'#/components/schemas/(\\w+)'");
  private static List<String> document;

  @BeforeAll
  static void read() throws IOException {
    Path folder = Path.of("").toAbsolutePath();
    while (!Files.exists(folder.resolve("docs/openapi.yaml"))) {
      folder = folder.getParent();
      assertThat(folder).as("the root of the checkout").isNotNull();
    }
    document = Files.readAllLines(folder.resolve("docs/openapi.yaml"));
  }

  @Test
  void everyRouteIsToldAndNoOther() {
    TreeSet<String> told = new TreeSet<>();
    String path = "";
    for (String line : document.subList(document.indexOf("paths:"), schemas())) {
      Matcher ofPath = PATH.matcher(line);
      Matcher ofMethod = METHOD.matcher(line);
      if (ofPath.matches()) {
        path = ofPath.group(1);
      } else if (ofMethod.matches()) {
        told.add(ofMethod.group(1).toUpperCase(java.util.Locale.ROOT) + " " + path);
      }
    }
    try (Meters meters = new Meters("test")) {
      TreeSet<String> served = new TreeSet<>();
      for (Route route :
          RestRoutes.router(new FakeEngine(), meters, System::nanoTime, "test", () -> {})
              .routes()) {
        served.add(route.method() + " " + route.pattern());
      }
      assertThat(told).isEqualTo(served);
    }
  }

  private static int schemas() {
    return document.indexOf("  schemas:");
  }

  private static Map<String, Set<String>> toldSchemas() {
    Map<String, Set<String>> told = new TreeMap<>();
    String schema = "";
    for (String line : document.subList(schemas(), document.size())) {
      Matcher ofSchema = SCHEMA.matcher(line);
      Matcher ofProperty = PROPERTY.matcher(line);
      if (ofSchema.matches()) {
        schema = ofSchema.group(1);
        told.put(schema, new TreeSet<>());
      } else if (ofProperty.matches()) {
        told.get(schema).add(ofProperty.group(1));
      }
    }
    return told;
  }

  @Test
  void everyMessageHasTheFieldsThatAreTold() throws Exception {
    Map<String, Set<String>> told = toldSchemas();
    assertThat(told).hasSizeGreaterThan(20);
    for (Map.Entry<String, Set<String>> schema : told.entrySet()) {
      Class<?> message = Class.forName(ErrorBody.class.getPackageName() + "." + schema.getKey());
      TreeSet<String> fields = new TreeSet<>();
      for (RecordComponent component : message.getRecordComponents()) {
        fields.add(wireName(component));
      }
      assertThat(fields).as(schema.getKey()).isEqualTo(schema.getValue());
    }
  }

  private static String wireName(RecordComponent component) {
    JsonProperty named = component.getAccessor().getAnnotation(JsonProperty.class);
    return named != null
        ? named.value()
        : component
            .getName()
            .replaceAll("([a-z0-9])([A-Z])", "$1_$2")
            .toLowerCase(java.util.Locale.ROOT);
  }

  @Test
  void referencesLeadSomewhereAndOperationsHaveNamesOfTheirOwn() {
    Map<String, Set<String>> told = toldSchemas();
    for (String line : document) {
      Matcher reference = REFERENCE.matcher(line);
      if (reference.find()) {
        assertThat(told).containsKey(reference.group(1));
      }
    }
    assertThat(document.stream().filter(line -> line.contains("operationId:")).toList())
        .isNotEmpty()
        .doesNotHaveDuplicates();
  }
}
