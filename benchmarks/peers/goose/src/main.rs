// One GET, repeated without a pause; Goose itself counts a status of 400 or more as a failure.
use goose::prelude::*;

async fn open(user: &mut GooseUser) -> TransactionResult {
    user.get("/products/CH-1189").await?;
    Ok(())
}

#[tokio::main]
async fn main() -> Result<(), GooseError> {
    GooseAttack::initialize()?
        .register_scenario(scenario!("Benchmark").register_transaction(transaction!(open)))
        .execute()
        .await?;
    Ok(())
}
