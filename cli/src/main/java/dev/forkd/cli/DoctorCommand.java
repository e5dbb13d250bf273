package dev.forkd.cli;

import java.io.PrintWriter;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.EnumMap;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.concurrent.Callable;
import picocli.CommandLine;
import picocli.CommandLine.Command;
import tools.jackson.databind.json.JsonMapper;

/** Looks at everything forkd needs, says what each thing is for and how to mend it. */
@Command(
    name = "doctor",
    description = "check this host: what works, what it means, how to mend it; exit 1 on a failure",
    mixinStandardHelpOptions = true)
final class DoctorCommand implements Callable<Integer> {
  @CommandLine.Option(names = "--json", description = "print one JSON object")
  private boolean json;

  @CommandLine.Mixin private Connection connection;
  @CommandLine.Spec private CommandLine.Model.CommandSpec spec;

  @Override
  public Integer call() {
    Map<String, String> environment = connection.environment();
    DataDir dataDir = connection.dataDir();
    List<Check> checks = new ArrayList<>();
    checks.addAll(new HostChecks(Path.of("/"), dataDir, environment).all());
    checks.addAll(new DaemonChecks(dataDir, environment).all());
    PrintWriter out = spec.commandLine().getOut();
    out.print(json ? renderJson(checks) : render(checks));
    out.flush();
    return exitStatus(checks);
  }

  static int exitStatus(List<Check> checks) {
    return checks.stream().anyMatch(c -> c.status() == Check.Status.FAIL) ? Main.FAILURE : 0;
  }

  static String render(List<Check> checks) {
    StringBuilder text = new StringBuilder();
    for (Check check : checks) {
      text.append(
          String.format("%s %-14s%s%n", check.status().glyph(), check.name(), check.detail()));
      text.append("                ").append(check.meaning()).append('\n');
      if (!check.mend().isEmpty()) {
        text.append("                → ").append(check.mend()).append('\n');
      }
    }
    List<String> counts = new ArrayList<>();
    count(checks).forEach((status, n) -> counts.add(name(status) + "=" + n));
    return text.append(String.join(" ", counts)).append('\n').toString();
  }

  static String renderJson(List<Check> checks) {
    List<Map<String, String>> rows = checks.stream().map(DoctorCommand::row).toList();
    return JsonMapper.shared()
            .writeValueAsString(Map.of("ok", exitStatus(checks) == 0, "checks", rows))
        + "\n";
  }

  private static Map<String, String> row(Check check) {
    Map<String, String> row = new LinkedHashMap<>();
    row.put("name", check.name());
    row.put("status", name(check.status()));
    row.put("detail", check.detail());
    row.put("meaning", check.meaning());
    row.put("mend", check.mend());
    return row;
  }

  private static Map<Check.Status, Integer> count(List<Check> checks) {
    Map<Check.Status, Integer> counts = new EnumMap<>(Check.Status.class);
    for (Check.Status status : Check.Status.values()) {
      counts.put(status, 0);
    }
    checks.forEach(check -> counts.merge(check.status(), 1, Integer::sum));
    return counts;
  }

  private static String name(Check.Status status) {
    return status.name().toLowerCase(java.util.Locale.ROOT);
  }
}
