"""E2B's published Python SDK for code, blocking and asynchronous."""

import unittest

from e2b_code_interpreter import AsyncSandbox, Sandbox


class Interpreter(unittest.TestCase):
    def test_code(self):
        """Values, state, output, errors, pictures, contexts."""
        with Sandbox.create(timeout=300, envs={"FROM": "the sandbox"}) as box:
            self.assertEqual(box.run_code("x = 41\nx + 1").text, "42")
            heard = []
            run = box.run_code("print('out')\nimport os\nos.environ['FROM'], os.environ['MINE']", envs={"MINE": "run"}, on_stdout=lambda message: heard.append(message.line))
            self.assertEqual((run.text, "".join(heard)), ("('the sandbox', 'run')", "out\n"))
            self.assertEqual(box.run_code("1 / 0").error.name, "ZeroDivisionError")
            figure = box.run_code("import matplotlib.pyplot as plt\nplt.plot([1, 2], [3, 4])\nplt.show()").results[0]
            self.assertTrue(figure.png)
            self.assertEqual(figure.chart.type.value, "line")
            for code, kind in (
                    ("plt.scatter([1], [2])", "scatter"), ("plt.pie([1, 3], labels=['a', 'b'])", "pie"),
                    ("plt.boxplot([[1, 2, 3]])", "box_and_whisker"), ("f, (a, b) = plt.subplots(1, 2)\na.plot([1, 2])\nb.bar(['x'], [3])", "superchart")):
                self.assertEqual(box.run_code(code + "\nplt.show()").results[-1].chart.type.value, kind)
            context = box.create_code_context(cwd="/tmp")
            self.assertEqual(box.run_code("import os\nos.getcwd()", context=context).text, "/tmp")
            box.run_code("mine = 1", context=context)
            self.assertIn(context.id, [one.id for one in box.list_code_contexts()])
            box.restart_code_context(context)
            self.assertEqual(box.run_code("mine", context=context).error.name, "NameError")
            box.remove_code_context(context)
            self.assertNotIn(context.id, [one.id for one in box.list_code_contexts()])
            for language, code in (
                    ("python", "print('x')"), ("javascript", "console.log('x')"), ("bash", "echo x"), ("java", 'System.out.println("x");')):
                heard = []
                box.run_code(code, language=language, on_stdout=heard.append)
                self.assertEqual("".join(message.line for message in heard), "x\n", language)
                self.assertGreater(heard[0].timestamp, 0)
            self.assertEqual(box.run_code("[1, 2].map(n => n * 2)", language="js").text, "[ 2, 4 ]")


class AsyncInterpreter(unittest.IsolatedAsyncioTestCase):
    async def test_code(self):
        """The same kernel is there for the next run."""
        async with await AsyncSandbox.create(timeout=300) as box:
            await box.run_code("y = 1")
            self.assertEqual((await box.run_code("y + 1")).text, "2")
            context = await box.create_code_context(cwd="/tmp")
            await box.run_code("y = 5", context=context)
            self.assertEqual((await box.run_code("y")).text, "1")
            await box.restart_code_context(context)
            self.assertEqual((await box.run_code("y", context=context)).error.name, "NameError")
            await box.remove_code_context(context)
            self.assertNotIn(context.id, [one.id for one in await box.list_code_contexts()])


if __name__ == "__main__":
    unittest.main()
