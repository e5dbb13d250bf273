package dev.forkd.junit;

import java.lang.annotation.Documented;
import java.lang.annotation.ElementType;
import java.lang.annotation.Retention;
import java.lang.annotation.RetentionPolicy;
import java.lang.annotation.Target;
import org.junit.jupiter.api.extension.ExtendWith;

/**
 * A sandbox of the test's own: a child of a template that nobody else has touched, killed when the
 * test is over. The parameter is a {@link dev.forkd.sdk.Sandbox}, or a {@link
 * dev.forkd.sdk.hosted.HostedSandbox}, which lives for five minutes at most.
 *
 * <pre>{@code
 * @Test
 * void migrates(@ForkedSandbox(template = "python", warm = "import sqlite3") Sandbox sandbox) {
 *   assertEquals("3", sandbox.eval("1 + 2").result().orElseThrow());
 * }
 * }</pre>
 *
 * <p>The daemon is the one of the system properties {@code forkd.url} and {@code forkd.token}, or
 * of the environment's FORKD_URL and FORKD_TOKEN.
 */
@Documented
@Target(ElementType.PARAMETER)
@Retention(RetentionPolicy.RUNTIME)
@ExtendWith(ForkedSandboxExtension.class)
public @interface ForkedSandbox {
  /** What it is forked from: a template's or snapshot's tag. */
  String template() default "python";

  /**
   * Code that is evaluated once, in a sandbox that is then saved: each test that asks for the same
   * gets a child of that. Nothing when empty.
   */
  String warm() default "";
}
