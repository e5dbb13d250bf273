package dev.forkd.template;

import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import tools.jackson.databind.JsonNode;
import tools.jackson.databind.json.JsonMapper;

/**
 * What an OCI image says its processes run with. It becomes a file of the guest's root, where the
 * agent finds it: so it goes wherever the disk goes, to children, branches and fresh boots, and
 * needs no place in any manifest.
 *
 * @param env variables by name
 * @param user as images name one: {@code name}, {@code uid}, {@code name:group}, {@code uid:gid}
 * @param folder absolute
 * @param command what the image would start, entrypoint first; never started by forkd
 * @see <a href="https://github.com/opencontainers/image-spec/blob/main/config.md">Config</a>
 */
record ImageConfig(
    Map<String, String> env, Optional<String> user, Optional<String> folder, List<String> command) {
  /** In the guest; see guest/PROTOCOL.md. */
  static final String FILE = "etc/forkd/defaults.json";

  static final ImageConfig NONE =
      new ImageConfig(Map.of(), Optional.empty(), Optional.empty(), List.of());

  /** Reads the {@code config} of an image's configuration. */
  static ImageConfig of(JsonNode config) {
    Map<String, String> env = new LinkedHashMap<>();
    for (JsonNode variable : config.path("Env")) {
      String text = variable.asString("");
      int equals = text.indexOf('=');
      if (equals > 0 && text.indexOf('\0') < 0) {
        env.put(text.substring(0, equals), text.substring(equals + 1));
      }
    }
    List<String> command = new ArrayList<>();
    config.path("Entrypoint").forEach(word -> command.add(word.asString("")));
    config.path("Cmd").forEach(word -> command.add(word.asString("")));
    return new ImageConfig(
        env,
        text(config, "User"),
        text(config, "WorkingDir").filter(folder -> folder.startsWith("/")),
        command);
  }

  private static Optional<String> text(JsonNode config, String name) {
    return Optional.of(config.path(name).asString(""))
        .filter(text -> !text.isBlank() && text.indexOf('\0') < 0);
  }

  /** As the agent reads it. */
  byte[] file(JsonMapper json) {
    Map<String, Object> content = new LinkedHashMap<>();
    content.put("env", env);
    user.ifPresent(name -> content.put("user", name));
    folder.ifPresent(path -> content.put("cwd", path));
    return json.writeValueAsBytes(content);
  }
}
