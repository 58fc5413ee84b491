// Greets from node: what main returns, or promises, is the result; what it prints is its log.
let greeted = 0;

async function main(args) {
  greeted += 1;
  const name = args.name ?? 'world';
  console.log(`greeting ${name}, number ${greeted} of this container`);
  return { greeting: `Hello, ${name}!`, greeted, node: process.version };
}
