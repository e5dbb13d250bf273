package dev.forkd.template;

import dev.forkd.process.Command;
import dev.forkd.process.ProcessResult;
import dev.forkd.process.ProcessRunner;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Duration;
import java.util.ArrayList;
import java.util.List;
import java.util.Set;
import java.util.regex.Pattern;

/**
 * The host's apt: where its administrator has it fetch packages from. Package lists of our own are
 * kept in a folder when the host has none, as in a fresh container, since writing the host's takes
 * root.
 */
final class AptSources {
  private static final Duration UPDATE_TIMEOUT = Duration.ofMinutes(5);
  private static final Pattern SAFE_PATH = Pattern.compile("/[A-Za-z0-9_./+-]+");

  private final Path ownState;
  private final List<String> options;
  private boolean useOwnState;

  /**
   * @param options of apt, besides the host's own settings
   */
  AptSources(Path ownState, List<String> options) {
    this.ownState = ownState;
    this.options = options;
  }

  /** An apt command line that reads the lists this object uses. */
  List<String> command(String program, String... arguments) {
    List<String> command = new ArrayList<>(List.of(program));
    command.addAll(options);
    if (useOwnState) {
      command.add("-oDir::State::Lists=" + ownState.resolve("lists"));
      command.add("-oDir::Cache=" + ownState.resolve("cache"));
    }
    command.addAll(List.of(arguments));
    return command;
  }

  /** Fetches the package lists into our own folder and uses those from now on. */
  void readLists() {
    AssetFiles.orFail(
        "make '" + ownState + "' for package lists",
        () -> {
          Files.createDirectories(ownState.resolve("lists/partial"));
          return Files.createDirectories(ownState.resolve("cache/archives/partial"));
        });
    useOwnState = true;
    ProcessRunner.check(
        Command.of(command("apt-get", "--quiet", "update"))
            .timeout(UPDATE_TIMEOUT)
            .advice("check the network and the host's apt sources"));
  }

  /** Removes the lists fetched into our own folder; they are of use only while they are fresh. */
  void forgetLists() throws IOException {
    AssetFiles.deleteTree(ownState);
  }

  /**
   * The host's one-line source entries for {@code suite}, its updates and its security fixes. Empty
   * if the host does not use that suite.
   */
  static List<String> entries(String suite) {
    ProcessResult targets =
        ProcessRunner.run(
            Command.of(
                "apt-get",
                "indextargets",
                "--format",
                "$(REPO_URI) $(RELEASE) $(COMPONENT) $(SIGNED_BY)",
                "Created-By: Packages"));
    return targets.succeeded() ? entries(targets.stdout(), suite) : List.of();
  }

  /** The same from lines of address, release, component and key file. */
  static List<String> entries(String targets, String suite) {
    Set<String> releases = Set.of(suite, suite + "-updates", suite + "-security");
    List<String> entries = new ArrayList<>();
    for (String line : targets.lines().distinct().toList()) {
      String[] part = line.split(" ", 4);
      if (part.length < 3 || !releases.contains(part[1])) {
        continue;
      }
      boolean signedByFile = part.length == 4 && SAFE_PATH.matcher(part[3]).matches();
      String options = signedByFile ? "[signed-by=" + part[3] + "] " : "";
      entries.add("deb " + options + part[0] + " " + part[1] + " " + part[2]);
    }
    boolean hasSuite = entries.stream().anyMatch(entry -> entry.contains(" " + suite + " "));
    return hasSuite ? entries : List.of();
  }
}
