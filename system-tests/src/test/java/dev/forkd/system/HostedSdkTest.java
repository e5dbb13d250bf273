package dev.forkd.system;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;
import static org.awaitility.Awaitility.await;

import dev.forkd.api.ErrorCode;
import dev.forkd.api.KnownTemplate;
import dev.forkd.junit.ForkedSandbox;
import dev.forkd.sdk.Forkd;
import dev.forkd.sdk.ForkdApiException;
import dev.forkd.sdk.Sandbox;
import dev.forkd.sdk.hosted.CommandResult;
import dev.forkd.sdk.hosted.HostOptions;
import dev.forkd.sdk.hosted.HostedCommands;
import dev.forkd.sdk.hosted.HostedFiles;
import dev.forkd.sdk.hosted.HostedProcess;
import dev.forkd.sdk.hosted.HostedSandbox;
import dev.forkd.sdk.hosted.Output;
import java.net.http.HttpResponse;
import java.net.http.WebSocket;
import java.time.Duration;
import java.util.List;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.CompletionStage;
import java.util.concurrent.CopyOnWriteArrayList;
import java.util.concurrent.TimeUnit;
import org.junit.jupiter.api.AfterAll;
import org.junit.jupiter.api.BeforeAll;
import org.junit.jupiter.api.Test;

/** The Java SDK's hosted sandboxes, and the JUnit support, in real VMs. */
class HostedSdkTest {
  private static final Duration PATIENCE = Duration.ofSeconds(60);

  /** Accepts one WebSocket and sends a text of five bytes (RFC 6455, 1.3 and 5.2). */
  private static final String GREETER =
      """
      import base64, hashlib, socket
      server = socket.create_server(('127.0.0.1', 8001))
      client, _ = server.accept()
      head = b''
      while b'\\r\\n\\r\\n' not in head:
          head += client.recv(4096)
      key = [line.split(b': ')[1] for line in head.split(b'\\r\\n')
             if line.lower().startswith(b'sec-websocket-key')][0]
      accept = hashlib.sha1(key + b'258EAFA5-E914-47DA-95CA-C5AB0DC85B11').digest()
      client.sendall(b'HTTP/1.1 101 Switching Protocols\\r\\nUpgrade: websocket\\r\\n'
                     b'Connection: Upgrade\\r\\nSec-WebSocket-Accept: '
                     + base64.b64encode(accept) + b'\\r\\n\\r\\n' + b'\\x81\\x05hello')
      client.recv(1)
      """;

  private static Daemon daemon;
  private static Forkd forkd;

  @BeforeAll
  static void start() throws Exception {
    Lab.bake(KnownTemplate.BASE);
    daemon = Daemon.start();
    forkd = daemon.client();
    System.setProperty("forkd.url", daemon.url());
    System.setProperty("forkd.token", Daemon.TOKEN);
  }

  @AfterAll
  static void stop() {
    forkd.close();
    daemon.close();
    Lab.clean(Lab.engine());
  }

  private static HostedSandbox sandbox() {
    return HostedSandbox.create(
        forkd, "base", HostOptions.DEFAULT.env("GREETING", "hello").metadata("of", "a test"));
  }

  /** A command's output, status and failures; one that goes on while others listen to it. */
  @Test
  void commands() {
    try (HostedSandbox sandbox = sandbox()) {
      HostedCommands commands = sandbox.commands();
      CommandResult result = commands.run("echo $GREETING; echo err >&2; exit 3");
      assertThat(result)
          .isEqualTo(new CommandResult(3, "hello\n", "err\n", false, "exit status 3"));
      assertThat(
              commands
                  .run("id -un; pwd", HostedCommands.Options.DEFAULT.user("root").cwd("/tmp"))
                  .stdout())
          .isEqualTo("root\n/tmp\n");
      List<String> heard = new CopyOnWriteArrayList<>();
      HostedProcess cat =
          commands.start(
              "cat",
              HostedCommands.Options.DEFAULT.withInput(),
              output -> heard.add(output.text()));
      assertThat(commands.list()).anyMatch(process -> process.pid() == cat.pid());
      cat.write("one\n");
      await().atMost(PATIENCE).untilAsserted(() -> assertThat(heard).containsExactly("one\n"));
      cat.close();
      try (HostedProcess again = commands.connect(cat.pid(), _ -> {})) {
        commands.connect(cat.pid(), _ -> {}).closeInput();
        assertThat(again.await().code()).isZero();
      }
      assertThat(commands.kill(cat.pid())).isFalse();
      assertThatThrownBy(() ->
              commands.run(
                  "sleep 30", HostedCommands.Options.DEFAULT.lifetime(Duration.ofSeconds(1))))
          .isInstanceOfSatisfying(
              ForkdApiException.class,
              e -> assertThat(e.code()).isEqualTo(ErrorCode.DEADLINE_EXCEEDED));
    }
  }

  /** A terminal has a size that can be changed, and an end. */
  @Test
  void terminal() {
    try (HostedSandbox sandbox = sandbox()) {
      List<String> seen = new CopyOnWriteArrayList<>();
      HostedProcess terminal = sandbox.pty().open(80, 24, output -> seen.add(output.text()));
      terminal.resize(100, 30);
      terminal.write("stty size; exit 4\n");
      assertThat(terminal.await().code()).isEqualTo(4);
      assertThat(String.join("", seen)).contains("30 100");
    }
  }

  /** Files are written, read, listed, moved, watched, removed. */
  @Test
  void files() {
    try (HostedSandbox sandbox = sandbox()) {
      HostedFiles files = sandbox.files();
      List<HostedFiles.Change> changes = new CopyOnWriteArrayList<>();
      files.makeDirectory("sub");
      assertThat(files.makeDirectory("sub")).isFalse();
      try (HostedFiles.Watch _ = files.watch("sub", true, changes::add)) {
        files.write("sub/a b", "text");
        await()
            .atMost(PATIENCE)
            .until(() ->
                changes.contains(new HostedFiles.Change(HostedFiles.Change.Kind.CREATE, "a b")));
      }
      assertThat(files.read("sub/a b")).isEqualTo("text");
      assertThat(files.list("sub").getFirst().path()).isEqualTo("/home/user/sub/a b");
      assertThat(files.move("sub/a b", "c").sizeBytes()).isEqualTo(4);
      files.remove("sub");
      assertThat(files.exists("sub")).isFalse();
      assertThatThrownBy(() -> files.read("none"))
          .isInstanceOfSatisfying(
              ForkdApiException.class, e -> assertThat(e.code()).isEqualTo(ErrorCode.NOT_FOUND));
    }
  }

  /** A server in it is reached; it is paused and goes on; forks go on from its state. */
  @Test
  void lifeAndPorts() throws Exception {
    try (HostedSandbox sandbox = sandbox()) {
      sandbox.files().write("index.html", "served");
      sandbox.commands().start("python3 -m http.server 8000").close();
      await()
          .atMost(PATIENCE)
          .until(() -> {
            HttpResponse<String> answer =
                sandbox
                    .ports()
                    .send(
                        sandbox.ports().request(8000, "/index.html").build(),
                        HttpResponse.BodyHandlers.ofString());
            return answer.statusCode() == 200 && answer.body().equals("served");
          });
      sandbox.pause();
      assertThat(sandbox.paused()).isTrue();
      sandbox.resume(Duration.ofMinutes(5));
      assertThat(sandbox.files().read("index.html")).isEqualTo("served");
      List<HostedSandbox> forks = sandbox.fork(2);
      assertThat(forks)
          .hasSize(2)
          .allSatisfy(fork ->
              assertThat(fork.commands().run("pgrep -fc [h]ttp.server").stdout()).isEqualTo("1\n"));
      sandbox.pauseDisk();
      sandbox.resume(Duration.ofMinutes(5));
      assertThat(sandbox.commands().run("pgrep -fc [h]ttp.server").stdout()).isEqualTo("0\n");
      String snapshot = sandbox.snapshot();
      try (HostedSandbox other = HostedSandbox.create(forkd, snapshot)) {
        assertThat(other.files().read("index.html")).isEqualTo("served");
      }
      forks.forEach(HostedSandbox::close);
      assertThat(HostedSandbox.connect(forkd, sandbox.id(), Duration.ofMinutes(1)).end())
          .isAfter(java.time.Instant.now());
    }
  }

  /** A server that speaks WebSocket is heard. */
  @Test
  void webSocket() {
    try (HostedSandbox sandbox = sandbox()) {
      sandbox.files().write("greet.py", GREETER);
      sandbox.commands().start("python3 greet.py").close();
      await()
          .atMost(PATIENCE)
          .until(() -> sandbox.commands().run("ss -ltn").stdout().contains(":8001"));
      CompletableFuture<String> heard = new CompletableFuture<>();
      WebSocket socket =
          sandbox
              .ports()
              .webSocket(
                  8001,
                  "/",
                  new WebSocket.Listener() {
                    @Override
                    public CompletionStage<?> onText(
                        WebSocket from, CharSequence text, boolean last) {
                      heard.complete(text.toString());
                      return CompletableFuture.completedStage(last);
                    }
                  })
              .join();
      assertThat(heard.orTimeout(PATIENCE.toSeconds(), TimeUnit.SECONDS).join()).isEqualTo("hello");
      socket.abort();
    }
  }

  /** Output can be subscribed to. */
  @Test
  void outputIsAFlow() {
    try (HostedSandbox sandbox = sandbox()) {
      List<String> heard = new CopyOnWriteArrayList<>();
      HostedProcess process = sandbox.commands().start("read x; echo $x", withInput(), _ -> {});
      process
          .output()
          .subscribe(
              new java.util.concurrent.Flow.Subscriber<>() {
                @Override
                public void onSubscribe(java.util.concurrent.Flow.Subscription subscription) {
                  subscription.request(Long.MAX_VALUE);
                }

                @Override
                public void onNext(Output output) {
                  heard.add(output.text());
                }

                @Override
                public void onError(Throwable failure) {
                  heard.add("failed: " + failure);
                }

                @Override
                public void onComplete() {
                  heard.add("complete");
                }
              });
      process.write("word\n");
      process.await();
      await()
          .atMost(PATIENCE)
          .untilAsserted(() -> assertThat(heard).containsExactly("word\n", "complete"));
    }
  }

  private static HostedCommands.Options withInput() {
    return HostedCommands.Options.DEFAULT.withInput();
  }

  /** A test gets a child of its own, of a template or of one that was warmed for it. */
  @Test
  void ofItsOwn(
      @ForkedSandbox Sandbox plain,
      @ForkedSandbox(warm = "x = 41") Sandbox first,
      @ForkedSandbox(warm = "x = 41") Sandbox second,
      @ForkedSandbox(template = "base") HostedSandbox hosted,
      @ForkedSandbox(template = "base", warm = "open('/warmed', 'w').write('yes')")
          HostedSandbox warmed) {
    assertThat(plain.eval("'x' in globals()").result()).contains("False");
    assertThat(first.eval("x + 1").result()).contains("42");
    first.eval("x = 0");
    assertThat(second.eval("x + 1").result()).contains("42");
    assertThat(hosted.commands().run("id -un; cat /warmed").stdout()).isEqualTo("user\n");
    assertThat(warmed.commands().run("cat /warmed").stdout()).isEqualTo("yes");
  }
}
